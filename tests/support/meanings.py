"""Pairs of sentences that say the same in other words, and pairs that differ in what they say.

Written for these tests; the published figures rest on another set, in ``benchmarks/data``.
"""

from __future__ import annotations

_SAME = """
You can return items within 30 days of delivery.|Items may be returned within thirty days after they were delivered.
Your refund will be issued in 5-7 business days.|We will issue your refund within five to seven working days.
Please contact support if the problem persists.|If the issue continues, please get in touch with our support team.
The meeting was moved from Tuesday to Thursday.|They rescheduled the meeting, which was on Tuesday, for Thursday.
Adults should take one tablet twice a day with water.|For adults the dose is 1 tablet two times per day, taken with water.
The library does not lend reference books.|Reference books cannot be borrowed from the library.
Smoking is not allowed on the balcony.|You are not permitted to smoke on the balcony.
Smoking is not allowed on the balcony.|Smoking is forbidden on the balcony.
You must be at least 18 years old to open an account.|Opening an account requires a minimum age of 18.
The warranty covers defects in materials, not accidental damage.|Accidental damage is excluded from the warranty; material defects are covered.
Employees receive 25 days of paid leave per year.|Each employee gets 25 paid vacation days a year.
Only managers can approve expenses above $500.|Expenses over $500 need a manager's approval.
The train leaves at 9:30 every morning.|Every morning the train departs at half past nine.
Paris is the capital of France.|The capital of France is Paris.
The function returns None if the key is missing.|If the key doesn't exist, None is returned by the function.
Data is encrypted at rest and in transit.|We encrypt data both in transit and at rest.
The city council approved the budget on 3 March 2025.|On March 3, 2025 the budget was approved by the city council.
One in five customers prefers paper invoices.|20% of customers prefer to get invoices on paper.
The tank holds 50 litres.|The tank has a capacity of 50 l.
The lease cannot be terminated before the end of the first year.|You can't end the lease until the first year is over.
No one under 16 may use the gym without an adult.|People younger than 16 can only use the gym together with an adult.
Drain the pasta and keep a cup of the water.|Pour off the water from the pasta, but save one cup of it.
The striker scored twice in the second half.|In the second half, the forward scored two goals.
The vaccine is given in two doses, four weeks apart.|Two doses of the vaccine are given 28 days apart.
If you cancel before noon, we charge nothing.|There is no charge when you cancel before 12:00.
The judge dismissed the appeal because it was filed late.|Because it had been filed too late, the appeal was dismissed by the judge.
Water boils at 100 °C at sea level.|At sea level, water boils at 212 °F.
Restart the router and wait two minutes.|Reboot the router, then wait for 120 seconds.
The company lost 1.5 million euros last quarter.|Last quarter the company made a loss of €1,500,000.
She was born in Lisbon and grew up in Porto.|Born in Lisbon, she spent her childhood in Porto.
Shipping is free for orders above 50 euros.|Orders over €50 ship free of charge.
The museum is closed on Mondays.|On Mondays the museum isn't open.
Half of the seats are reserved for residents.|50 percent of the seats are set aside for residents.
Children under 12 travel free.|Kids younger than twelve ride for free.
This endpoint is deprecated and will be removed in version 3.0.|The endpoint is deprecated; version 3.0 will remove it.
Unsubscribing takes effect immediately.|You are unsubscribed right away.
Each team may register up to eight players.|A team can register at most 8 players.
The shop opens at 9 am and closes at 6 pm.|Opening hours are 09:00 to 18:00.
The battery lasts about 12 hours on a full charge.|On a full charge, you get roughly 12 hours of battery life.
Store the medicine below 25 degrees Celsius.|The medicine must not be stored above 25 °C.
You do not need a visa for stays under 90 days.|No visa is required for stays of less than 90 days.
Never share your password with anyone.|Do not give your password to anybody.
The landlord must give two weeks' notice before entering.|Before entering, the landlord has to announce it 14 days in advance.
Sorry, we don't ship to Brazil.|Unfortunately, shipping to Brazil is not available.
The CEO said profits would rise.|Profits are going to rise, the CEO said.
The new law applies to all firms with more than 50 employees.|All companies that employ over 50 people are subject to the new law.
Turn off the oven before you take out the tray.|Switch the oven off, and then take the tray out.
The flight from Oslo to Madrid takes four hours.|Flying to Madrid from Oslo takes 4 hours.
Tickets can be exchanged but not refunded.|You can swap tickets, but there are no refunds.
The bridge was built in 1932 and is 1,149 metres long.|Built in 1932, the bridge has a length of 1.149 km.
Only members can borrow DVDs.|Only members may borrow DVDs.
Add two teaspoons of salt to the dough.|Put 2 tsp salt into the dough.
Students need 60 credits to enter the second year.|To enter the second year, 60 credits are needed by students.
Our office is located at 12 Baker Street.|You will find our office at 12 Baker Street.
The patient should not eat for six hours before surgery.|The patient must fast for 6 hours prior to the operation.
All prices include VAT.|Prices are inclusive of VAT.
The update fixes a crash on startup.|A crash at startup is fixed by the update.
Overtime is paid at 150 percent of the normal rate.|Overtime pays 1.5 times the normal rate.
The deadline is 31 December.|The deadline is December 31st.
Backups run every night at 2 am.|Backups are made nightly at 2:00.
Anna handed the report to Ben.|The report was handed to Ben by Anna.
The bank lends money to small firms.|Small companies can borrow money from the bank.
You may bring one guest.|You can bring a guest.
The tenant pays for small repairs.|Small repairs are paid for by the tenant.
Wait until the light turns green.|Don't go on until the light is green.
The application was rejected.|The application was not accepted.
The medicine is available without a prescription.|You do not need a prescription for this medicine.
Please do not hesitate to call us.|Feel free to give us a call.
The hotel does not allow pets.|Pets are not welcome at the hotel.
Refunds take 30 days.|Thanks for asking! Refunds take 30 days. Exchanges take 14 days, and store credit is issued within 24 hours. Call 0800 123 456 for help.
Refunds take 30 days.|You will have your money back within a month. If you paid by card, allow 3 more days.
The fee is $25 per night.|Guests are charged twenty-five dollars for every night they stay.
The kitten weighed 900 g.|It was a small cat of 0.9 kg.
The meeting lasts 90 minutes.|Plan an hour and a half for the meeting.
The film is two hours and ten minutes long.|The running time of the film is 130 minutes.
Two thirds of the members voted for the change.|The change was supported by 67 % of those who are members.
The museum was founded in 1889 in Vienna.|Vienna's museum dates back to 1889.
Nobody under 18 is admitted.|You have to be 18 or older to get in.
No dogs are allowed in the dining room.|Please leave your dog outside the dining room.
The lease can't be extended.|Extending the lease is not possible.
I don't know the answer.|The answer is unknown to me.
There is no charge for the first bag.|The first bag is free.
She never eats meat.|She is a vegetarian.
The bus doesn't run on Sundays.|There's no bus service on Sunday.
You can't use the coupon twice.|The coupon is valid one time only.
Unless you object, we will renew the plan.|We will renew the plan if you do not object.
The pool opens in May.|From May on, you can swim in the pool.
The session expires after 15 minutes of inactivity.|If you do nothing for a quarter of an hour, you are logged out.
Contact Maria Lopez in HR.|Maria Lopez from human resources is the person to get in touch with.
The EU adopted the regulation in 2016.|In 2016 the regulation was passed by the European Union.
Berlin has about 3.7 million inhabitants.|Roughly 3,700,000 people live in Berlin.
The router supports speeds up to 1 Gbps.|Speeds of at most 1 Gbps are supported by the router.
Take the exit after the second traffic light.|Once you have passed two traffic lights, take the exit.
The company was bought by Orion Foods for 2.4 billion dollars.|Orion Foods paid $2.4bn for the company.
The warranty lasts 24 months.|You have a two-year warranty.
The exam consists of 40 questions, of which at least 28 must be answered correctly.|To pass, 28 or more of the 40 exam questions have to be right.
The temperature fell below zero.|It got colder than 0 degrees.
Interest rates went up from 2 to 3 percent.|The interest rate rose by one point, reaching 3 %.
A dozen eggs cost 4 euros.|You pay €4 for 12 eggs.
The temple is open daily except Monday.|Apart from Mondays, you can visit the temple every day.
The flight was delayed because of fog.|Fog was the reason why the plane left late.
You need to arrive at least two hours before departure.|Be there 2 hours ahead of your departure, or earlier.
Only one in ten applicants is accepted.|10 percent of those who apply get in.
After the merger, the firm moved to Dublin.|The firm relocated to Dublin when the merger was done.
Sales doubled between 2019 and 2021.|From 2019 to 2021, sales grew by 100 percent.
Seat belts must be worn at all times.|Never take off your seat belt.
The drug should not be taken with alcohol.|Avoid alcohol while you are on the drug.
Most of our staff work from home on Fridays.|On Friday, the majority of employees are not in the office.
The south side of the building is closed for repairs.|Because it is being repaired, you can't enter the building's southern side.
He sold the car to his neighbour for 3,000 pounds.|His neighbour bought the car from him for £3,000.
Applications close on 1 June at 5 pm.|You can apply until 17:00 on June 1st.
Only use the lift if you cannot take the stairs.|Take the stairs if you can; the lift is for those who can't.
The backup is kept for 7 days and then deleted.|After a week, the backup is removed.
The parcel weighs less than 2 kg.|The weight of the parcel is under 2 kilograms.
Your card was declined because the address does not match.|The address is wrong, so your card could not be charged.
The hotel has free Wi-Fi in all rooms.|Wi-Fi is included at no extra cost in each room.
The course is not suitable for beginners.|Beginners should choose another course.
If it rains, the concert will be held indoors.|In case of rain, the concert takes place inside.
The library lends up to ten books at a time.|You can have ten library books at once, but not more.
You can reset your password in the settings.|You can reset your password in the preferences.
Click the Save button to store your changes.|Click Save to keep your changes.
Our team will get back to you within one business day.|Our team will reply to you within one working day.
Thank you for reaching out! Your order ships tomorrow.|Thanks for contacting us. Your order ships tomorrow.
I'm sorry for the inconvenience. A new card is on its way.|We apologize for the trouble. A new card is on the way.
The subscription renews automatically every month.|Your subscription renews automatically each month.
You need to provide proof of purchase.|You must provide a proof of purchase.
The app is available on iOS and Android.|The app is available for Android and iOS.
Cook the rice for about 15 minutes.|Cook the rice for approximately 15 minutes.
To apply, fill out the online form.|To apply, complete the online form.
The product comes with a 2-year warranty.|The product has a two-year warranty.
Photosynthesis converts light energy into chemical energy.|Photosynthesis transforms light energy into chemical energy.
The capital of Australia is Canberra, not Sydney.|Canberra, not Sydney, is the capital of Australia.
The heart pumps blood through the body.|The heart pumps blood throughout the body.
Use a strong password with at least 12 characters.|Use a strong password of at least 12 characters.
The fee is non-refundable.|The fee isn't refundable.
Employees are entitled to 25 vacation days.|Employees are entitled to 25 days of vacation.
Please note that shipping may take longer.|Note that shipping can take longer.
It is recommended to back up your data first.|We recommend that you back up your data first.
The report summarizes the main findings.|The report summarises the key findings.
If you have further questions, let us know.|If you have any other questions, let us know.
The event was cancelled due to bad weather.|The event was called off because of bad weather.
The new feature lets users export their data.|The new feature allows users to export their data.
He graduated from Oxford University in 2010.|He graduated from the University of Oxford in 2010.
The meeting starts at 10 a.m. in room 204.|The meeting begins at 10:00 am in room 204.
The study included 120 patients.|The study involved 120 patients.
This medicine can cause drowsiness.|This medication may cause drowsiness.
The error occurs when the file is missing.|The error occurs if the file is missing.
The company plans to hire 50 engineers.|The company is planning to hire 50 engineers.
Your account has been successfully created.|Your account was created successfully.
The list is sorted in ascending order.|The list gets sorted in ascending order.
Remember to bring your ID.|Don't forget to bring your ID.
Make sure the device is turned off.|Ensure that the device is turned off.
Yes, the store is open on Sundays.|The store is open on Sundays.
No, refunds are not possible.|Refunds are not possible.
The price includes breakfast.|Breakfast is included in the price.
The model was trained on 2 TB of text.|The model has been trained on two terabytes of text.
Visitors are asked to be quiet.|Visitors are asked to keep quiet.
You'll receive a confirmation email shortly.|You will get a confirmation e-mail soon.
Dogs must be kept on a leash.|Dogs have to be kept on a lead.
The data shows a clear trend.|The data show a clear trend.
Children learn languages easily.|Kids pick up languages easily.
You can track your package with the number in the email.|You can follow your parcel using the number in the e-mail.
The recipe serves four people.|This recipe is enough for four people.
The concert was sold out within hours.|Tickets for the concert sold out within hours.
Press and hold the power button for ten seconds.|Hold down the power button for 10 seconds.
The warranty does not cover water damage.|Water damage isn't covered by the warranty.
Mercury is the closest planet to the Sun.|Mercury is the planet nearest to the Sun.
The treaty ended the war in 1648.|In 1648, the treaty brought the war to an end.
Employees must report accidents immediately.|Employees have to report accidents right away.
The bakery opens at seven in the morning.|The bakery opens at 7 a.m.
Our office is closed on public holidays.|On public holidays our office is closed.
The loan has a fixed interest rate of 4.5%.|The loan carries a fixed interest rate of 4.5 percent.
He wrote the novel while living in Paris.|He wrote the book while he was living in Paris.
If you are late, you will lose your seat.|You will lose your seat if you arrive late.
The server returned a 404 error.|The server responded with a 404 error.
Mix the dry ingredients in a large bowl.|In a big bowl, combine the dry ingredients.
The trip takes roughly five hours by train.|By train, the journey takes about 5 hours.
Please allow up to 48 hours for a response.|Please allow up to two days for a reply.
The committee will meet again next week.|The committee is going to meet again next week.
She speaks fluent Spanish and some French.|She is fluent in Spanish and speaks some French.
The museum offers free entry on the first Sunday of each month.|Admission to the museum is free on the first Sunday of every month.
Side effects include headache and nausea.|Possible side effects are headache and nausea.
We have received your application and will review it soon.|Your application has been received and will be reviewed soon.
Plants need sunlight and water to grow.|To grow, plants require sunlight and water.
This setting is disabled by default.|By default, this setting is off.
Only registered users can post comments.|Comments can only be posted by registered users.
The file must not exceed 10 MB.|The maximum file size is 10 MB.
It is not necessary to book in advance.|You don't need to book in advance.
Keep the receipt in case you want to return the item.|Keep your receipt in case you wish to return the product.
The bus stops in front of the hotel.|The bus stop is right in front of the hotel.
The king died in 1715 after a long illness.|After a long illness, the king passed away in 1715.
Students receive a discount of 15 percent.|Students get 15% off.
The lecture has been moved to room B12.|The lecture was moved to room B12.
All participants must sign the consent form.|The consent form must be signed by all participants.
I could not find any information about that.|I couldn't find information on that.
The new policy takes effect on January 1.|The new policy comes into force on 1 January.
Your trial expires in three days.|Your trial ends in 3 days.
The mountain is 2,962 metres high.|The height of the mountain is 2962 m.
Only 3 seats are left.|There are only three seats left.
"""
_OTHER = """
The tenant pays for small repairs.|The landlord pays for small repairs.
All prices include VAT.|All prices exclude VAT.
Anna handed the report to Ben.|Ben handed the report to Anna.
Tickets can be exchanged but not refunded.|Tickets can be refunded but not exchanged.
The museum is closed on Mondays.|The museum is open on Mondays.
The museum is closed on Mondays.|The museum is closed on Sundays.
Store the medicine below 25 degrees Celsius.|Store the medicine above 25 degrees Celsius.
Each team may register up to eight players.|Each team may register at least eight players.
Each team may register up to eight players.|Each team must register up to eight players.
You must be at least 18 years old to open an account.|You must be at least 16 years old to open an account.
The shop opens at 9 am and closes at 6 pm.|The shop opens at 9 am and closes at 8 pm.
The flight from Oslo to Madrid takes four hours.|The flight from Madrid to Oslo takes four hours.
Shipping is free for orders above 50 euros.|Shipping is free for orders above 50 dollars.
Some tickets are refundable.|No tickets are refundable.
The hotel allows pets.|The hotel does not allow pets.
The vaccine is given in two doses, four weeks apart.|The vaccine is given in two doses, four months apart.
She was born in Lisbon and grew up in Porto.|She was born in Porto and grew up in Lisbon.
The bank lends money to small firms.|The bank borrows money from small firms.
The striker scored twice in the second half.|The striker scored twice in the first half.
Restart the router and wait two minutes.|Restart the router and wait two hours.
Never share your password with anyone.|Always share your password with anyone.
The new law applies to all firms with more than 50 employees.|The new law applies to all firms with fewer than 50 employees.
Only members can borrow DVDs.|Members can borrow DVDs.
The judge dismissed the appeal because it was filed late.|The judge granted the appeal because it was filed late.
Overtime is paid at 150 percent of the normal rate.|Overtime is paid at 115 percent of the normal rate.
The deadline is 31 December.|The deadline is 31 October.
Backups run every night at 2 am.|Backups run every week at 2 am.
The patient should not eat for six hours before surgery.|The patient should not eat for six hours after surgery.
Your manager approves the request, then HR signs it.|HR approves the request, then your manager signs it.
Take the blue pill in the morning and the red one at night.|Take the red pill in the morning and the blue one at night.
The function returns None if the key is missing.|The function returns False if the key is missing.
Data is encrypted at rest.|Data is unencrypted at rest.
The tank holds 50 litres.|The tank holds 50 gallons.
The server runs Debian 12.|The server runs Ubuntu 12.
Version 2.3.1 fixes the leak.|Version 2.3.4 fixes the leak.
Most of the staff work remotely.|All of the staff work remotely.
The contract is valid with a signature.|The contract is valid without a signature.
The refund goes to the buyer.|The refund goes to the seller.
Spain beat Italy in the final.|Italy beat Spain in the final.
Turn left after the bridge.|Turn right after the bridge.
The dose may be doubled.|The dose must be doubled.
You can cancel at any time.|You cannot cancel at any time.
The price rose by 3 percent in May.|The price fell by 3 percent in May.
The file is deleted after 7 days.|The file is kept after 7 days.
Interest is paid monthly.|Interest is paid yearly.
The coupon is worth $25.|The coupon is worth $52.
Children under 12 travel free.|Children over 12 travel free.
The pool is heated in winter.|The pool is heated in summer.
Dr. Meyer replaced Dr. Klein as chair.|Dr. Klein replaced Dr. Meyer as chair.
Salt lowers the freezing point of water.|Salt raises the freezing point of water.
The recipe needs four eggs.|The recipe needs five eggs.
The company acquired a startup in Berlin.|The company acquired a startup in Munich.
The court found him guilty.|The court found him not guilty.
Nobody was hurt.|Somebody was hurt.
The alarm sounds when the door is opened.|The alarm sounds unless the door is opened.
The invoice is sent to the customer by the supplier.|The invoice is sent to the supplier by the customer.
Sara was promoted ahead of Tom.|Tom was promoted ahead of Sara.
Wash the salad after you peel the carrots.|Peel the carrots after you wash the salad.
The goalkeeper passed the ball to the defender.|The defender passed the ball to the goalkeeper.
High demand caused the price increase.|The price increase caused high demand.
The patch needs a reboot.|The patch needs no reboot.
I'd recommend this hotel.|I wouldn't recommend this hotel.
The plant tolerates frost.|The plant hardly tolerates frost.
It is possible to change your seat online.|It is impossible to change your seat online.
The clause applies in all cases, including theft.|The clause applies in all cases, excluding theft.
The lift is in service.|The lift is out of service.
Nobody on the team speaks Finnish.|Everybody on the team speaks Finnish.
The film has subtitles.|The film has no subtitles.
Passengers are allowed to use laptops during take-off.|Passengers are not allowed to use laptops during take-off.
The mushroom is edible.|The mushroom is inedible.
The password was changed successfully.|The password was changed unsuccessfully.
The witness denied seeing the car.|The witness confirmed seeing the car.
The road is passable in winter.|The road is impassable in winter.
You still need to sign the form.|You no longer need to sign the form.
Bring your passport.|Don't bring your passport.
The tap water here is drinkable.|The tap water here is undrinkable.
The account has been locked.|The account has been unlocked.
The train calls at York.|The train calls at Leeds.
Heart surgery is performed by Dr. Patel.|Heart surgery is performed by Dr. Novak.
The painting is by Monet.|The painting is by Manet.
The novel was translated into Czech.|The novel was translated into Slovak.
The senator from Ohio voted yes.|The senator from Iowa voted yes.
The left kidney was removed.|The right kidney was removed.
The choir rehearses on Wednesday evenings.|The choir rehearses on Wednesday mornings.
The course runs from April to June.|The course runs from April to July.
The offer ends at midnight.|The offer ends at noon.
The treaty was signed in 1987.|The treaty was signed in 1978.
The pharmacy opens at 8:30.|The pharmacy opens at 8:00.
Summer term starts on 15 April.|Summer term starts on 15 May.
The next election is in two years.|The next election is in four years.
The fiscal year ends in the third quarter.|The fiscal year ends in the second quarter.
Water the plant weekly.|Water the plant daily.
Dissolve 5 g of salt in the water.|Dissolve 5 kg of salt in the water.
The speed limit is 50 km/h.|The speed limit is 50 mph.
The rod is 12 inches long.|The rod is 12 cm long.
The dose is 5 ml.|The dose is 5 mg.
The file is 300 KB.|The file is 300 MB.
Rent is paid per month.|Rent is paid per week.
The oven must reach 200 degrees Celsius.|The oven must reach 200 degrees Fahrenheit.
The loan is in Swiss francs.|The loan is in euros.
About a third of the land is forest.|About two thirds of the land is forest.
Exactly ten people attended.|More than ten people attended.
All but two of the samples were clean.|All of the samples were clean.
Most flights were on time.|Few flights were on time.
You should back up the disk first.|You must back up the disk first.
Students may use calculators.|Students must use calculators.
A few members objected.|All members objected.
Any employee can open the safe.|Only one employee can open the safe.
The museum is always busy.|The museum is sometimes busy.
The rebate is capped at 100 euros.|The rebate is at least 100 euros.
Some errors are logged.|All errors are logged.
The insurer pays the hospital directly.|The hospital pays the insurer directly.
Foxes hunt hares, and hares eat grass.|Hares hunt foxes, and foxes eat grass.
Lena is taller than Marc.|Marc is taller than Lena.
The older version is faster than the newer one.|The newer version is faster than the older one.
The cable goes from the router to the modem.|The cable goes from the modem to the router.
Exports to Canada exceeded imports.|Imports to Canada exceeded exports.
The host invites the guests.|The guests invite the host.
The app syncs from the phone to the watch.|The app syncs from the watch to the phone.
The landlord sued the tenant.|The tenant sued the landlord.
The manager reports to the director.|The director reports to the manager.
Python was influenced by ABC.|ABC was influenced by Python.
The red team was beaten by the blue team.|The blue team was beaten by the red team.
The scholarship covers tuition. Travel is not included.|The scholarship covers tuition. Travel is included.
Ask your dentist before taking ibuprofen.|Ask your dentist after taking ibuprofen.
The river flows from the lake into the sea.|The river flows from the sea into the lake.
The tax is deducted from the salary by the employer.|The tax is deducted from the salary by the employee.
Rebooting helps when the screen freezes.|Rebooting seldom helps when the screen freezes.
The new model is heavier than the old one.|The old model is heavier than the new one.
Sugar dissolves faster in hot water.|Sugar dissolves slower in hot water.
You will be charged if you cancel late.|You will not be charged if you cancel late.
A doctor's note is required from day four.|A doctor's note is required from day one.
Anyone can edit the page.|Nobody can edit the page.
Flights over three hours include a meal.|Flights under three hours include a meal.
The prize went to Hungary.|The prize went to Bulgaria.
The mayor thanked the volunteers.|The volunteers thanked the mayor.
The webinar is on the first Monday of the month.|The webinar is on the last Monday of the month.
Ali transferred 200 dollars to Mei.|Mei transferred 200 dollars to Ali.
The ticket is valid for both zones.|The ticket is valid for one zone.
The suspect was seen near the station.|The suspect was never seen near the station.
The API returns at most 100 rows.|The API returns at least 100 rows.
The rent includes heating and water.|The rent includes neither heating nor water.
We offer support on weekdays.|We offer support on weekends.
Hand luggage must weigh less than 8 kg.|Hand luggage must weigh more than 8 kg.
Feed the cat twice a day.|Feed the cat three times a day.
The vote is anonymous.|The vote is not anonymous.
The solution is acidic.|The solution is alkaline.
Tom taught Lisa the piano.|Lisa taught Tom the piano.
The battery is replaceable.|The battery is irreplaceable.
The trail is open all year.|The trail is open half the year.
The manager may waive the fee.|The manager must waive the fee.
Export the report as PDF.|Export the report as CSV.
The course starts in week 12.|The course starts in week 21.
Income above 50,000 is taxed at 30 %.|Income above 50,000 is taxed at 13 %.
Every applicant gets a reply within ten days.|Some applicants get a reply within ten days.
The glacier has shrunk by 12 metres.|The glacier has grown by 12 metres.
The bus stops here except on Sundays.|The bus stops here only on Sundays.
The switch must be off before you open the case.|The switch must be on before you open the case.
Nora reports to Felix, who heads the lab.|Felix reports to Nora, who heads the lab.
The lab confirmed the result.|The lab could not confirm the result.
Apply the cream in the morning.|Apply the cream in the evening.
The meeting is optional for interns.|The meeting is mandatory for interns.
The bill passed with 52 votes to 48.|The bill passed with 58 votes to 42.
Heat the oil to 180 °C.|Heat the oil to 180 °F.
The parcel is insured up to 500 euros.|The parcel is insured up to 500 dollars.
Lead is denser than iron.|Iron is denser than lead.
Few of the tests failed.|Most of the tests failed.
The shop on King Street has moved to Queen Street.|The shop on Queen Street has moved to King Street.
I have read the contract.|I have not yet read the contract.
The road north is blocked.|The road south is blocked.
The warranty excludes batteries.|The warranty includes batteries.
The witness recognised the thief.|The thief recognised the witness.
The engine starts even when it is cold.|The engine starts unless it is cold.
At least two guardians must be present.|At most two guardians must be present.
Hand in the essay no later than Friday.|Hand in the essay no earlier than Friday.
The deficit reached 3 million euros.|The deficit reached 3 billion euros.
The pump moves 20 litres per minute.|The pump moves 20 litres per hour.
Add two cups of flour and stir.|Add two tablespoons of flour and stir.
The gap should be 0.8 mm wide.|The gap should be 0.8 cm wide.
The line carries 400 kV.|The line carries 400 V.
He ran the marathon in under three hours.|He ran the marathon in over three hours.
The plant produces 12 MW of power.|The plant produces 12 MWh of power.
The drone can stay up for 40 minutes.|The drone can stay up for 40 seconds.
Inflation was 2.1 percent in March. In April it was 2.3 percent.|Inflation was 2.1 percent in March. In April it was 3.2 percent.
She is the second-oldest of the siblings.|She is the third-oldest of the siblings.
Three of the five judges dissented.|Four of the five judges dissented.
The quorum is half of the members plus one.|The quorum is a third of the members plus one.
Paracetamol may be given every six hours.|Paracetamol may be given every eight hours.
The toll is 4.50 each way.|The toll is 5.40 each way.
Room 12 is on the ground floor.|Room 21 is on the ground floor.
The trial lasted from 2011 to 2013.|The trial lasted from 2011 to 2015.
Ramadan begins in early March this year.|Ramadan begins in late March this year.
The shop closes an hour earlier on Sundays.|The shop closes an hour later on Sundays.
Your appointment is on Tuesday the 14th.|Your appointment is on Tuesday the 15th.
The audit covers the first half of 2024.|The audit covers the second half of 2024.
The bins are collected every other Thursday.|The bins are collected every Thursday.
Next year's fair is in Lyon.|Last year's fair was in Lyon.
Judge Okoye adjourned the hearing.|Judge Okoro adjourned the hearing.
The patient has type 1 diabetes.|The patient has type 2 diabetes.
The striker joined from Ajax.|The striker joined from PSV.
The Danube passes through Budapest.|The Rhine passes through Budapest.
The tenants' association filed the complaint.|The owners' association filed the complaint.
The north gate is for deliveries.|The south gate is for deliveries.
Marta succeeded Jan as chair of the board.|Jan succeeded Marta as chair of the board.
The teacher was introduced to the parents by the head.|The parents were introduced to the teacher by the head.
Electrons flow from the anode to the cathode.|Electrons flow from the cathode to the anode.
Mix the flour into the eggs, not the eggs into the flour.|Mix the eggs into the flour, not the flour into the eggs.
The library borrowed the painting from the museum.|The museum borrowed the painting from the library.
Backend calls frontend when the job is done.|Frontend calls backend when the job is done.
Payment is due before delivery.|Delivery is due before payment.
Rain followed the heat wave.|The heat wave followed the rain.
Team A defeated Team B on penalties.|Team B defeated Team A on penalties.
All of the doors are alarmed.|None of the doors are alarmed.
Several clauses were struck out.|All clauses were struck out.
It often snows in May.|It rarely snows in May.
At least one parent must attend.|Both parents must attend.
Not all of the files were copied.|None of the files were copied.
The rule applies to most contracts.|The rule applies to a few contracts.
Up to 40 % of the grant can go on travel.|At least 40 % of the grant can go on travel.
Either door leads to the hall.|Neither door leads to the hall.
More than half of the seats are taken.|Less than half of the seats are taken.
The drug has no known side effects.|The drug has known side effects.
Don't switch the machine off during the update.|Switch the machine off during the update.
The alarm was not triggered by smoke.|The alarm was triggered by smoke.
You can't park here without a permit.|You can park here without a permit.
Dairy is not part of the diet.|Dairy is part of the diet.
The strike was averted.|The strike was not averted.
The container is dishwasher-safe.|The container is not dishwasher-safe.
Our prices exclude delivery.|Our prices include delivery.
The bank waived the fee.|The bank did not waive the fee.
The bridge is safe for lorries.|The bridge is unsafe for lorries.
The software is open source.|The software is closed source.
The seller accepts returns.|The seller refuses returns.
He was acquitted of fraud.|He was convicted of fraud.
"""


def _pairs(text: str) -> list[tuple[str, str]]:
    found = [line.split("|") for line in text.strip().splitlines()]
    return [(reference, answer) for reference, answer in found]


SAME = _pairs(_SAME)
OTHER = _pairs(_OTHER)
